"""What `__init__.py` imports when it is first asked for, as type checkers see it."""

from .background import RemoveBackground as RemoveBackground
from .codec import DecodeLimits as DecodeLimits
from .conditions import Condition as Condition
from .cutout import ChainSettings as ChainSettings
from .cutout import cut_out as cut_out
from .cutters import CutterSettings as CutterSettings
from .engines.contract import Engine as Engine
from .engines.contract import Matte as Matte
from .fetch import FetchLimits as FetchLimits
from .inference import MattingModelHandler as MattingModelHandler
from .mask_stats import MaskStats as MaskStats
from .matte import ComposeSettings as ComposeSettings
from .providers.settings import ProviderSettings as ProviderSettings
from .records import Cutout as Cutout
from .records import Failure as Failure
from .records import ImageRecord as ImageRecord
