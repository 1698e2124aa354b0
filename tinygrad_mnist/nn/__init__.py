"""Networks: modules that hold parameters and buffers, the layers they are made of, and how those start.

The rooms: `module.py`, what a part of a network is; `buffer.py`; `initializers.py`; `layers.py`; `norms.py`;
`attention.py`; `activations.py`; `overview.py`, a network as a table.
"""

from .activations import GELU as GELU
from .activations import LeakyReLU as LeakyReLU
from .activations import LogSoftmax as LogSoftmax
from .activations import ReLU as ReLU
from .activations import Sigmoid as Sigmoid
from .activations import SiLU as SiLU
from .activations import Softmax as Softmax
from .activations import Softplus as Softplus
from .activations import Tanh as Tanh
from .activations import erf as erf
from .activations import gelu as gelu
from .activations import silu as silu
from .attention import MultiheadAttention as MultiheadAttention
from .attention import scaled_dot_product_attention as scaled_dot_product_attention
from .buffer import Buffer as Buffer
from .initializers import INITIALIZERS as INITIALIZERS
from .initializers import initial as initial
from .initializers import initial_bias as initial_bias
from .layers import AvgPool2d as AvgPool2d
from .layers import Conv2d as Conv2d
from .layers import Dropout as Dropout
from .layers import Embedding as Embedding
from .layers import Flatten as Flatten
from .layers import Linear as Linear
from .layers import MaxPool2d as MaxPool2d
from .layers import Sequential as Sequential
from .layers import dropout_mask as dropout_mask
from .layers import embedding as embedding
from .module import Module as Module
from .module import named as named
from .norms import BatchNorm1d as BatchNorm1d
from .norms import BatchNorm2d as BatchNorm2d
from .norms import LayerNorm as LayerNorm
from .overview import Summary as Summary
from .overview import summary as summary
