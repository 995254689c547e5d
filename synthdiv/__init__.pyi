from .corpora import Corpus as Corpus
from .face import baseline_metrics as baseline_metrics
from .face import compare_corpora as compare_corpora
from .face import diversity_score as diversity_score

__version__: str
