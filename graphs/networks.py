"""What the figures take of the zoo: it is beside this package in a checkout, and with it in `tinygrad_mnist` elsewhere.

See `tinygrad_mnist/installation.py`. No other module of the figures imports from the zoo.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING or __name__ == "graphs.networks":
    from zoo.base import COSTS as COSTS
    from zoo.commandline import require as require
    from zoo.custom import Convolutional as Convolutional
    from zoo.limits import whole_number as whole_number
    from zoo.models import NETWORK3 as NETWORK3
    from zoo.network1 import Network1 as Network1
    from zoo.options import listed as listed
    from zoo.patches import decode as decode
    from zoo.sketch.serving import served as served
    from zoo.sketch.subjects import ZooSubject as ZooSubject
    from zoo.training import Training as Training
    from zoo.training import describe as describe
    from zoo.training import network_class as network_class
    from zoo.words import counted as counted
    from zoo.words import wrapped as wrapped
    from zoo.writer_measures import Reader as Reader
    from zoo.writer_measures import written as written
    from zoo.writer_training import WriterSettings as WriterSettings
    from zoo.writer_training import WriterTraining as WriterTraining
else:
    from ..zoo.base import COSTS
    from ..zoo.commandline import require
    from ..zoo.custom import Convolutional
    from ..zoo.limits import whole_number
    from ..zoo.models import NETWORK3
    from ..zoo.network1 import Network1
    from ..zoo.options import listed
    from ..zoo.patches import decode
    from ..zoo.sketch.serving import served
    from ..zoo.sketch.subjects import ZooSubject
    from ..zoo.training import Training, describe, network_class
    from ..zoo.words import counted, wrapped
    from ..zoo.writer_measures import Reader, written
    from ..zoo.writer_training import WriterSettings, WriterTraining
