"""Two trained networks, so that writing and reading can be tried at once.

These commands made them, in one thread on an AMD EPYC (another processor or compiler comes to other bits):

python -m zoo.writer --backend c --weights-only --save zoo/models/writer.npz
python -m zoo.network3 --save zoo/models/network3.npz
"""

from pathlib import Path

WRITER, NETWORK3 = (Path(__file__).with_name(name) for name in ("writer.npz", "network3.npz"))
