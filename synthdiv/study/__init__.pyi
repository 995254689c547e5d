from .analysis import analyse as analyse
from .config import read_plan as read_plan
from .regression import line_band as line_band
from .regression import regress as regress
from .run import run_study as run_study
from .sample_size import Noise as Noise
from .sample_size import corpora_needed as corpora_needed
from .sample_size import power as power
