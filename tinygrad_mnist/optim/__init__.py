"""Optimizers: how a gradient changes the parameters. The formulas and conventions are PyTorch's.

    SGD         w <- w - lr g
    Momentum    v <- mu v + g,   w <- w - lr v           (v starts at 0, so the first v is g)
    Nesterov    v <- mu v + g,   w <- w - lr (g + mu v)
    Adagrad     s <- s + g²,     w <- w - lr g / (√s + eps)
    RMSProp     s <- alpha s + (1 - alpha) g²,   w <- w - lr g / (√s + eps)
    Adam        RMSProp with momentum;   AdamW    with weight decay past all that

`clip_grad_norm` makes gradients shorter before a step; schedules change the learning rate from epoch to epoch.

The learning rate `lr` is Nielsen's eta. His and most textbooks' momentum is v <- mu v - eta g; w <- w + v, which is the
same as long as eta is constant: here a change of the learning rate acts on the whole velocity at once, there only on
what is added from then on. Nesterov's gradient "at the point looked ahead to" is here taken at the present point, with
the parameters understood as already looked ahead (Sutskever et al., 2013).

Weight decay adds `weight_decay` w to the gradient: the derivative of the penalty ½ weight_decay Σ w². Nielsen's L2
regularization with lambda (chapter 3) is `weight_decay = lambda / n`, with n the number of training examples, on the
weights alone; biases go into a group without it:

    SGD([{"params": weights, "weight_decay": lmbda / n}, {"params": biases}], lr=0.5)
"""

from .adaptive import Adagrad as Adagrad
from .adaptive import Adam as Adam
from .adaptive import AdamW as AdamW
from .adaptive import RMSProp as RMSProp
from .clipping import clip_grad_norm as clip_grad_norm
from .formulas import SGD as SGD
from .formulas import Momentum as Momentum
from .formulas import Nesterov as Nesterov
from .optimizer import Optimizer as Optimizer
from .plateau import ReduceLROnPlateau as ReduceLROnPlateau
from .schedule import CosineLR as CosineLR
from .schedule import LambdaLR as LambdaLR
from .schedule import LinearLR as LinearLR
from .schedule import Schedule as Schedule
from .schedule import StepLR as StepLR
from .sequence import SequentialLR as SequentialLR
from .state import State as State
