"""The processes of one job beyond one device and one machine: who they are, and what they say to each other."""

from alexnet.ranks.group import LAUNCHER as LAUNCHER
from alexnet.ranks.group import Ranks as Ranks
from alexnet.ranks.group import alone as alone
from alexnet.ranks.group import broken as broken
from alexnet.ranks.group import current as current
from alexnet.ranks.group import joined as joined
from alexnet.ranks.group import under_torchrun as under_torchrun
