from .attention import attend as attend
from .attention import choose_backend as choose_backend
from .config import ModelConfig as ModelConfig
from .llama import Llama as Llama
from .loss import cross_entropy as cross_entropy
from .weights import load_model as load_model
from .weights import save_hf as save_hf
