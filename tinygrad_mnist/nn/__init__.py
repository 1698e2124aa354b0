"""Networks: modules that hold parameters and buffers, the layers they are made of, and how those start."""

from .activations import ReLU as ReLU
from .activations import Sigmoid as Sigmoid
from .activations import Softmax as Softmax
from .activations import Tanh as Tanh
from .buffer import Buffer as Buffer
from .initializers import INITIALIZERS as INITIALIZERS
from .initializers import initial as initial
from .initializers import initial_bias as initial_bias
from .layers import Conv2d as Conv2d
from .layers import Dropout as Dropout
from .layers import Flatten as Flatten
from .layers import Linear as Linear
from .layers import MaxPool2d as MaxPool2d
from .layers import Sequential as Sequential
from .layers import dropout_mask as dropout_mask
from .module import Module as Module
from .module import named as named
