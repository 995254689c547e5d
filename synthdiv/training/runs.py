"""The runs: pre-training, fine-tuning, export. A run opens its data, checks it, and trains."""

import dataclasses
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh

from synthdiv.data import tokenizer_files
from synthdiv.data.chat import TEMPLATE_FILE
from synthdiv.errors import UserError
from synthdiv.files import atomic_path, output_dir, read_json, write_json, write_text
from synthdiv.model import weights
from synthdiv.model.attention import backend_of
from synthdiv.model.config import ModelConfig
from synthdiv.plans import Plan
from synthdiv.progress import say
from synthdiv.storage import fetch, is_remote, told
from synthdiv.training import initial
from synthdiv.training.config import PretrainConfig, RunConfig, SFTConfig
from synthdiv.training.host import prepare
from synthdiv.training.loop import Run, train
from synthdiv.training.mesh import MeshConfig, make_mesh
from synthdiv.training.plan import Target, plan, too_large
from synthdiv.training.step import StepConfig
from synthdiv.training.storage import told_in_one_line
from synthdiv.training.validation import held_out
from synthdiv.training.work import check, claimed, fine_tuning, pretraining


def pretrain(
    config: PretrainConfig,
    workdir: str | Path,
    operative: str = "",
    profile_steps: tuple[int, int] | None = None,
    init_from: str | Path | None = None,
) -> Path:
    """Pre-trains a model on a mixture of tokens; goes on where an earlier call was interrupted.

    Args:
        config: all settings.
        workdir: gets checkpoints/, metrics.jsonl, tensorboard/ and, at the end, done.json.
        operative: the gin text that `config` was made from, kept in the checkpoints.
        profile_steps: (first, last) steps to profile.
        init_from: the weights to start from (continued pre-training): a checkpoint of ours, a
            workdir (its newest one), or a Hugging Face Llama. Where no size of the model is bound,
            the sizes are that checkpoint's. None: random weights.

    Returns:
        The directory of the final checkpoint; at once if the run was finished before.

    Raises:
        UserError: data, model, mesh and checkpoint do not fit each other; before anything is
            compiled.
        Paused: SIGTERM came and all is saved.
    """
    workdir = Path(workdir)
    config, checkpoint = _continued(config, init_from)
    run = dataclasses.replace(
        _open_pretrain(config, checkpoint), operative=operative, profile_steps=profile_steps
    )
    work = pretraining(config, run.data, run.steps, checkpoint)
    with told_in_one_line(workdir), claimed(workdir, work):
        return _finished(workdir) or _start(run, workdir)


def plan_pretrain(
    config: PretrainConfig,
    workdir: str | Path | None = None,
    init_from: str | Path | None = None,
    target: Target | None = None,
) -> Plan:
    """Returns what `pretrain` would take; see `synthdiv.training.plan`. Writes nothing.

    `target` are the devices; None: those at hand. Before the tokens are there, a run whose length
    is bound (`tokens`) can be planned all the same, with sequences of the model's whole context.

    Raises:
        UserError: what `pretrain` would refuse, with that workdir.
    """
    config, checkpoint = _continued(config, init_from)
    sources = [directory for directory, _ in config.mixture.sources]
    if not config.tokens or any(is_remote(each) or Path(each).exists() for each in sources):
        run = _open_pretrain(config, checkpoint, planned=True)
        if workdir is not None:
            check(Path(workdir), pretraining(config, run.data, run.steps, checkpoint))
        return _plan(run, target)
    length = config.model.max_length
    steps = math.ceil(config.tokens / (config.batch_size * length))
    step = StepConfig.of(config, config.model, len(sources))
    return plan(step, config.mesh, config.batch_size, length, steps, target)


def sft(
    config: SFTConfig,
    init_from: str | Path,
    input: str | Path | Sequence[str | Path],
    workdir: str | Path,
    operative: str = "",
    profile_steps: tuple[int, int] | None = None,
) -> Path:
    """Fine-tunes a model on conversations, with loss on the answers only.

    Args:
        config: all settings.
        init_from: a checkpoint of ours, a workdir (its newest one), or a Hugging Face Llama.
        input: instruction files; see `synthdiv.data.sft_examples`.
        workdir, operative, profile_steps: as for `pretrain`.

    Returns:
        The directory of the final checkpoint; at once if the run was finished before.

    Raises:
        UserError: no checkpoint, no tokenizer in it, or data that does not fit.
        Paused: SIGTERM came and all is saved.
    """
    workdir, inputs = Path(workdir), _paths(input)
    checkpoint, config = _begin(config, init_from)
    work = fine_tuning(config, checkpoint, inputs, config.template)
    with told_in_one_line(workdir), claimed(workdir, work):
        finished = _finished(workdir)
        if finished:
            return finished
        run = _open_sft(config, checkpoint, inputs)
        say(f"chat template: {config.template.path}")
        run = dataclasses.replace(
            run,
            tokenizer=_with_template(run.tokenizer, config.template.source, workdir),
            operative=operative,
            profile_steps=profile_steps,
        )
        return _start(run, workdir)


def plan_sft(
    config: SFTConfig,
    init_from: str | Path,
    input: str | Path | Sequence[str | Path],
    workdir: str | Path | None = None,
    target: Target | None = None,
) -> Plan:
    """Returns what `sft` would take; see `synthdiv.training.plan`. Writes nothing.

    `target` are the devices; None: those at hand.

    Raises:
        UserError: what `sft` would refuse, with that workdir.
    """
    inputs = _paths(input)
    checkpoint, config = _begin(config, init_from)
    if workdir is not None:
        check(Path(workdir), fine_tuning(config, checkpoint, inputs, config.template))
    return _plan(_open_sft(config, checkpoint, inputs, planned=True), target)


def _begin(config: SFTConfig, init_from: str | Path) -> tuple[Path, SFTConfig]:
    """Returns the checkpoint to start from, and the settings with the chat template to use.

    Also prepares the process, which has to come before anything that touches a device.
    """
    prepare(config.compile_cache)
    checkpoint = weights.find_checkpoint(init_from)
    template = config.template.of_model(weights.describe(checkpoint)[1])
    return checkpoint, dataclasses.replace(config, template=template)


def _paths(input: str | Path | Sequence[str | Path]) -> list[Path]:
    given = [input] if isinstance(input, str | Path) else list(input)
    paths = [fetch(path) for path in given]
    for path in paths:
        if not path.exists():
            raise UserError(f"no instruction data {str(path)!r}")
    return paths


def export(checkpoint: str | Path, output: str | Path, dtype: str = "float32") -> Path:
    """Writes a checkpoint as a Hugging Face Llama: safetensors, config.json, tokenizer.

    Args:
        checkpoint: a checkpoint of ours, or a workdir: its newest one.
        dtype: "float32" (exact), "bfloat16" or "float16".

    Raises:
        UserError: there is no checkpoint, or the output cannot be written.
    """
    from synthdiv.data.tokenizer_export import for_transformers

    loaded = weights.load_model(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = loaded.tokenizer and for_transformers(loaded.tokenizer, Path(folder))
        return weights.save_hf(loaded.model, loaded.config, tokenizer, output, dtype)


def plan_export(checkpoint: str | Path, dtype: str = "float32") -> Plan:
    """Returns what `export` would write.

    Raises:
        UserError: there is no checkpoint.
    """
    found = weights.find_checkpoint(checkpoint)
    config, tokenizer = weights.describe(found)
    size = config.parameters * (4 if dtype == "float32" else 2)
    words = "with its tokenizer" if tokenizer else "without a tokenizer"
    facts = {str(found): f"{config.parameters:,} parameters, {size / 1e9:.2f} GB, {words}"}
    return Plan(facts, {"parameters": config.parameters, "bytes": size})


def _continued(
    config: PretrainConfig, init_from: str | Path | None
) -> tuple[PretrainConfig, Path | None]:
    """Returns the settings with the model that is trained, and the checkpoint it starts from.

    Also prepares the process, as `_begin` does.
    """
    prepare(config.compile_cache)
    if init_from is None:
        return config, None
    checkpoint = weights.find_checkpoint(init_from)
    model = initial.model_from(config.model, checkpoint)
    return dataclasses.replace(config, model=model), checkpoint


def _open_pretrain(config: PretrainConfig, checkpoint: Path | None, planned: bool = False) -> Run:
    from synthdiv.data import batches

    data = batches(
        config.mixture,
        config.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=config.workers,
    )
    tokens = config.tokens or data.total_sequences * data.sequence_length
    steps = math.ceil(tokens / (config.batch_size * data.sequence_length))
    params = None
    if checkpoint is not None:
        initial.check_tokenizer(checkpoint, data)
        params = initial.params_of(checkpoint, config.model)
    return Run(
        config,
        config.model,
        data,
        steps,
        _mesh(config, config.model, data.sequence_length, planned),
        data.tokenizer_dir,
        first_params=params,
        init_from=told(checkpoint) if checkpoint else "",
        validation=held_out(config),
    )


def _open_sft(
    config: SFTConfig, checkpoint: Path, inputs: Sequence[Path], planned: bool = False
) -> Run:
    from synthdiv.data import load_tokenizer, sft_batches

    model, tokenizer = weights.describe(checkpoint)
    if tokenizer is None:
        raise UserError(f"{checkpoint} has no tokenizer, which fine-tuning needs")
    computed = {
        name: getattr(config, name) for name in ("dtype", "remat", "attention", "loss_chunk")
    }
    chosen = {name: value for name, value in computed.items() if value}
    model = dataclasses.replace(model, attention_dropout=config.attention_dropout, **chosen)
    data = sft_batches(
        inputs,
        load_tokenizer(tokenizer),
        tokenizer,
        config.sequence_length or model.max_length,
        config.batch_size,
        template=config.template,
        format=config.format,
        epochs=config.epochs,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    mesh = _mesh(config, model, data.sequence_length, planned)
    params = initial.params_of(checkpoint, model)
    return Run(config, model, data, data.steps, mesh, tokenizer, params, told(checkpoint))


def _mesh(config: RunConfig, model: ModelConfig, length: int, planned: bool) -> Mesh:
    """The devices of a run; where it is only planned, one, which every model and batch divides."""
    if planned:
        return make_mesh(MeshConfig(), jax.devices()[:1])
    backend_of(model, length)
    return make_mesh(config.mesh)


def _start(run: Run, workdir: Path) -> Path:
    output_dir(workdir)
    if jax.process_index() == 0:
        write_json(workdir / "run.json", run.about)
        for name, part in run.data.plan().items():
            say(f"{name}: {part['tokens']:,} tokens, {part['epochs']:.2f} epochs")
    try:
        return train(run, workdir)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sizes = run.config.batch_size, run.data.sequence_length, run.steps
        raise too_large(run.step, run.config.mesh, *sizes) from error


def _plan(run: Run, target: Target | None) -> Plan:
    sizes = run.config.batch_size, run.data.sequence_length, run.steps
    scope = "SFT" if isinstance(run.config, SFTConfig) else "Pretrain"
    return plan(run.step, run.config.mesh, *sizes, target, scope)


def _with_template(tokenizer: Path, template: str, workdir: Path) -> Path:
    """Copies a tokenizer, the chat template beside it, where `transformers` looks for it."""
    output = output_dir(workdir / "tokenizer")
    if jax.process_index() == 0:
        for file in tokenizer_files(tokenizer):
            with atomic_path(output / file.name) as temporary:
                shutil.copyfile(file, temporary)
        write_text(output / TEMPLATE_FILE, template)
    return output


def _finished(workdir: Path) -> Path | None:
    done = workdir / "done.json"
    if not done.exists():
        return None
    checkpoint = workdir / weights.CHECKPOINTS / str(read_json(done)["step"])
    return checkpoint if (checkpoint / weights.ABOUT).exists() else None
