"""What a training run is made of: model, optimizer, mesh, data, and how the run is kept."""

import dataclasses

from synthdiv.config import PathName, settle
from synthdiv.data import ChatTemplate, MixtureConfig
from synthdiv.errors import UserError, closest
from synthdiv.model.config import ModelConfig
from synthdiv.training.mesh import MeshConfig
from synthdiv.training.optimizer import OptimizerConfig, SFTOptimizerConfig


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What pre-training and fine-tuning have in common.

    Raises:
        UserError: a value that is out of range.
    """

    batch_size: int = 256  # sequences in one update, over all devices
    accumulate: int = 1  # micro-batches that one update's batch is cut into
    seed: int = 0  # of weights, dropout and data order
    segments: bool = True  # attention stays inside a document
    z_loss: float = 0.0
    on_bad: str = "stop"  # on a loss or gradient that is not finite, or a spike: "stop" or "skip"
    max_skipped: int = 10  # updates in a row that may be left out
    spike: float = 0.0  # how many nats above the smoothed loss make a spike; 0: never
    log_every: int = 10  # steps
    max_steps: int = 0  # stop there, saved, though the run is longer; 0: its whole length
    checkpoint_every: int = 1000  # steps; 0: only at the end
    keep: int = 3  # newest checkpoints kept, beside the one of the lowest held-out loss
    tensorboard: bool = True  # if tensorboardX is installed
    wandb: str = ""  # project; empty: none
    compile_cache: PathName = "auto"  # directory; "auto": the user's cache directory; "": none
    workers: int = 0  # threads that prepare batches ahead; 0: none, the loop prepares its own
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self) -> None:
        settle(self)
        for name in ("batch_size", "accumulate", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.max_steps < 0:
            raise UserError(f"max_steps must not be negative, as {self.max_steps} is")
        if self.seed < 0:
            raise UserError(f"seed must not be negative, as {self.seed} is")
        if self.on_bad not in ("stop", "skip"):
            near = closest(self.on_bad, ("stop", "skip"))
            raise UserError(f"on_bad={self.on_bad!r} is neither 'stop' nor 'skip'{near}")


@dataclasses.dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Pre-training on a mixture of tokens.

    `tokens` is the length of the run; 0 means one pass of the mixture, which is the sum of its
    sources' effective tokens. `validation` are held-out tokens, as Mixture.sources: directories
    that the mixture does not have, and how many tokens of each are read (None: all).
    """

    tokens: float = 0
    validation: tuple[tuple[str, float | None], ...] = ()
    validate_every: int = 1000  # steps between two readings of `validation`
    model: ModelConfig = ModelConfig()
    mixture: MixtureConfig = MixtureConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validate_every < 1:
            raise UserError(f"validate_every must be at least 1, not {self.validate_every}")


@dataclasses.dataclass(frozen=True)
class SFTConfig(RunConfig):
    """Fine-tuning on conversations, with loss on the answers only."""

    batch_size: int = 64
    epochs: int = 3
    sequence_length: int = 0  # 0: the model's context
    format: str = "auto"  # of the instruction file
    attention_dropout: float = 0.0
    # How the model is computed, as Model.* of pre-training; "" and 0: as it was trained, which for
    # a Hugging Face directory is float32 without recomputation.
    dtype: str = ""
    remat: str = ""
    attention: str = ""
    loss_chunk: int = 0
    checkpoint_every: int = 0
    template: ChatTemplate = ChatTemplate()
    optimizer: SFTOptimizerConfig = SFTOptimizerConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1:
            raise UserError(f"SFT.epochs must be at least 1, not {self.epochs}")
