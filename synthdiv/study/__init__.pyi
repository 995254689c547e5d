from .config import read_plan as read_plan
from .regression import line_band as line_band
from .regression import regress as regress
from .run import run_study as run_study
