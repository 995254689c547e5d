"""A 10M Llama learns here what it learns under transformers and PyTorch: real text, 500 updates.

    pytest -m slow -s tests/parity/test_learning.py

Same tokens in the same order, same first weights, same schedule; only the libraries differ.
"""

import dataclasses
import gzip
import json
import math
import shutil

import numpy as np
import pytest
from flax import nnx

from synthdiv.config import load
from synthdiv.data import (
    MixtureConfig,
    TokenizeConfig,
    TokenizerConfig,
    batches,
    tokenize_corpora,
)
from synthdiv.files import Corpus
from synthdiv.model import ModelConfig, save_hf
from synthdiv.model.weights import graph
from synthdiv.training import OptimizerConfig, PretrainConfig, pretrain
from synthdiv.training.mesh import make_mesh
from synthdiv.training.step import StepConfig, init_state

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

STEPS, BATCH, LENGTH = 500, 4, 256
OPTIMIZER = OptimizerConfig(learning_rate=1e-3, warmup=0.1)


def learn_with_pytorch(directory, data) -> list[float]:
    """The same run, written as a PyTorch user would; returns each update's loss."""
    model = transformers.LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    model.train()
    norms = [p for name, p in model.named_parameters() if "norm" in name]
    others = [p for name, p in model.named_parameters() if "norm" not in name]
    optimizer = torch.optim.AdamW(
        [{"params": others, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    rise = math.ceil(0.1 * STEPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (s + 1) / rise if s < rise else 1 - (s - rise) / (STEPS - rise),
    )
    losses = []
    for _ in range(STEPS):
        batch = next(data)
        logits = model(input_ids=torch.tensor(batch["tokens"]), use_cache=False).logits
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.tensor(batch["targets"]).long().flatten(), reduction="none"
        )
        counted = torch.tensor(batch["loss_mask"]).flatten()
        loss = (each * counted).sum() / counted.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
def test_ten_million_parameters_learn_as_under_pytorch(tmp_path, shared_data) -> None:
    with (
        gzip.open(shared_data / "text" / "classic_books_0.jsonl.gz", "rb") as packed,
        open(tmp_path / "books.jsonl", "wb") as plain,
    ):
        shutil.copyfileobj(packed, plain)
    model = dataclasses.replace(
        load([ModelConfig], ["configs/model/10m.gin"]).get(ModelConfig),
        dtype="float32",
        loss_chunk=512,
    )
    tokenize_corpora(
        [Corpus(tmp_path / "books.jsonl")],
        tmp_path / "tokens",
        TokenizerConfig(vocab_size=model.vocab_size, max_bytes=5_000_000),
        TokenizeConfig(sequence_length=LENGTH),
    )
    config = PretrainConfig(
        model=model,
        mixture=MixtureConfig(sources=((str(tmp_path / "tokens"), None),)),
        optimizer=OPTIMIZER,
        batch_size=BATCH,
        tokens=STEPS * BATCH * LENGTH,
        segments=False,
    )
    state = init_state(StepConfig(model, OPTIMIZER), make_mesh(config.mesh), config.seed, STEPS)
    save_hf(nnx.merge(graph(model), state.params), model, None, tmp_path / "first")
    del state

    pretrain(config, tmp_path / "run")
    rows = [
        json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    theirs = learn_with_pytorch(
        tmp_path / "first", batches(config.mixture, BATCH, seed=config.seed)
    )

    begins = 0
    for row in rows:  # each is the mean over the updates since the row before
        row["theirs"] = np.mean(theirs[begins : row["step"]])
        begins = row["step"]
        print(f"update {row['step']:3d}: {row['loss']:.4f}, PyTorch {row['theirs']:.4f}")
    assert begins == STEPS
    ours_end, theirs_end = (np.mean([row[k] for row in rows[-10:]]) for k in ("loss", "theirs"))
    print(f"last {len(rows[-10:])} rows: {ours_end:.4f}, PyTorch {theirs_end:.4f} nats a token")
    assert ours_end < 0.8 * theirs[0]  # it did learn
    assert abs(ours_end / theirs_end - 1) < 0.01
