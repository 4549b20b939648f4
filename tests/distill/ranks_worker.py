"""What test_ranks.py starts under torchrun: ``ranks_worker.py layouts|stage OUT ...``."""

import json
import os
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from veilform.distill.ranks.layout import Layout

STEPS, ROWS, WORDS = 20, 8, 15


def without_key_biases(state):
    """Their gradient is rounding alone under softmax, and Adam makes whole steps of it."""
    state = {k: v for k, v in state.items() if not k.endswith(("key.bias", "k_lin.bias"))}
    for name in [name for name in state if name.endswith("c_attn.bias")]:
        third = len(state[name]) // 3
        state[name] = state[name].clone()
        state[name][third : 2 * third] = 0
    return state


@dataclass(frozen=True)
class Case:
    """A layout, and the model that it is tried on."""

    layout: Layout
    family: str = "bert"
    functions: tuple[str, str] = ("gelu", "softmax")
    frozen: bool = False
    changes: dict = field(default_factory=dict)


CASES = {
    2: {
        "tp2": Case(Layout(tp=2, micro_batch=4)),
        "tp2, language model": Case(Layout(tp=2, micro_batch=4), "gpt2"),
        "dp2": Case(Layout(dp=2, micro_batch=2), changes={"pooling": "mean"}),
        "pp2": Case(Layout(pp=2, cuts=(1, 3), micro_batch=2), frozen=True),
        "pp2, one micro-batch": Case(
            Layout(pp=2, cuts=(3, 1), micro_batch=8), "distilbert", ("quad", "2quad")
        ),
    },
    4: {
        # The first of them says where the ranks of all of them sit.
        "dp2 pp2": Case(
            Layout(dp=2, pp=2, cuts=(3, 1), placement=(3, 1, 0, 2)), functions=("quad", "2quad")
        ),
        "tp2 pp2": Case(Layout(tp=2, pp=2, cuts=(1, 3), micro_batch=2), "roberta"),
        "tp2 dp2": Case(
            Layout(tp=2, dp=2, micro_batch=2),
            "distilbert",
            changes={"num_labels": 1},
        ),
        "tp2 pp2, language model": Case(Layout(tp=2, pp=2, cuts=(3, 1), micro_batch=2), "gpt2"),
        "pp4": Case(Layout(pp=4, micro_batch=2), changes={"pooling": "mean"}),
    },
}


def build(case):
    """The same model on every rank, without dropout."""
    import torch
    from transformers import (
        BertConfig,
        DistilBertConfig,
        GPT2Config,
        GPT2LMHeadModel,
        RobertaConfig,
    )

    from veilform.distill import student

    sizes = {
        "vocab_size": WORDS, "pad_token_id": 0, "max_position_embeddings": 20, "hidden_size": 32,
        "num_hidden_layers": 4, "num_attention_heads": 4, "initializer_range": 0.2, "num_labels": 3,
    }  # fmt: skip
    torch.manual_seed(0)
    if case.family == "gpt2":
        dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        sizes.pop("num_labels")
        return GPT2LMHeadModel(GPT2Config(**sizes, **dropout, bos_token_id=1, eos_token_id=1))
    kinds = {"bert": BertConfig, "roberta": RobertaConfig, "distilbert": DistilBertConfig}
    inner = "hidden_dim" if case.family == "distilbert" else "intermediate_size"
    config = kinds[case.family](**{**sizes, inner: 48, **case.changes})
    model = student.build_model(student.student_config(config, *case.functions))
    if case.frozen:
        student.freeze_embeddings(model)
    return model


def batches(case):
    """Batches of several widths, some short, some with rows that have no label."""
    import torch

    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        rows, width = ROWS - 3 * (step % 5 == 4), 5 + step // 4
        ids = torch.randint(2, WORDS, (rows, width), generator=generator)
        mask = torch.ones(rows, width, dtype=torch.long)
        mask[0, width - 2 :] = 0
        labels = torch.randint(3, (rows,), generator=generator)
        if case.family == "gpt2":
            labels = torch.where(mask == 0, -100, ids)
        elif case.changes.get("num_labels") == 1:
            labels = labels.float()
        elif step % 3 == 0:
            labels[1] = -100
        wanted = torch.randn(rows, case.changes.get("num_labels", 3), generator=generator)
        yield {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}, wanted


def alone(case, weights, rate):
    """Training in one process, with stock parts: losses, norms, the model."""
    import torch

    from veilform.distill.losses import label_loss, logit_loss

    model = build(case).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    losses, norms = [], []
    for batch, wanted in batches(case):
        optimizer.zero_grad()
        out = model(**batch)
        if case.family == "gpt2":
            loss = weights.labels * out.loss
        else:
            loss = weights.labels * label_loss(out.logits, batch["labels"])
            loss = loss + weights.logits * logit_loss(out.logits, wanted)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, model.eval()


def together(case, weights, rate):
    """The same by the case's layout."""
    import torch

    from veilform.distill.ranks.program import Program

    if case.family == "gpt2":
        weights = replace(weights, logits=0.0)
    program = Program(build(case), case.layout, weights)
    program.train(1)
    optimizer = torch.optim.AdamW(program.groups(decay=0.0), lr=rate)
    losses, norms = [], []
    for batch, wanted in batches(case):
        losses.append(program.step(batch, wanted))
        norms.append(program.clip(1.0))
        optimizer.step()
    return losses, norms, program


def drift_with_dropout(layout):
    """How far tensors that all shards hold come apart in training with dropout."""
    import torch
    import torch.distributed as dist
    from torch.distributed.tensor import DTensor

    from veilform.distill.ranks.program import Program

    case = Case(layout)
    model = build(case)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    program = Program(model, layout)
    torch.manual_seed(dist.get_rank())
    program.train(1)
    optimizer = torch.optim.AdamW(program.groups(decay=0.0), lr=1e-3)
    for batch, _ in batches(case):
        program.step(batch)
        optimizer.step()
    held = [p.detach().flatten() for p in program.parameters() if not isinstance(p, DTensor)]
    ends = torch.cat([torch.cat(held), -torch.cat(held)])
    dist.all_reduce(ends, op=dist.ReduceOp.MAX)
    return float(sum(ends.chunk(2)).max())


def compare_layouts(out, world):
    """Largest differences between one process and each layout, and the model as a folder."""
    import torch
    import torch.distributed as dist
    from transformers import GPT2LMHeadModel

    from veilform.distill.student import load_model
    from veilform.distill.trainer import Weights

    weights, rate, figures = Weights(labels=1.0, logits=0.5), 1e-3, {}
    for name, case in CASES[world].items():
        losses, norms, program = together(case, weights, rate)
        whole = program.state_dict()
        program.save_pretrained(Path(out).parent / name)
        batch, _ = next(batches(case))
        predicted = program.predict(batch)
        if dist.get_rank() != 0:
            assert whole == {}
            continue
        true_losses, true_norms, model = alone(case, weights, rate)
        ours, theirs = without_key_biases(whole), without_key_biases(model.state_dict())
        apart = [float((ours[key] - value).abs().max()) for key, value in theirs.items()]
        load = GPT2LMHeadModel.from_pretrained if case.family == "gpt2" else load_model
        again = load(Path(out).parent / name).eval()
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        with torch.no_grad():
            figures[name] = {
                "losses": true_losses,
                "loss": max(abs(a - b) for a, b in zip(losses, true_losses, strict=True)),
                "norm": max(abs(a - b) for a, b in zip(norms, true_norms, strict=True)),
                "weights": max(apart),
                "saved": float((again(**inputs).logits - predicted).abs().max()),
                "device": int(os.environ["LOCAL_RANK"]),
            }
    drift = drift_with_dropout(Layout(tp=world, micro_batch=ROWS))
    if dist.get_rank() == 0:
        Path(out).write_text(json.dumps({"layouts": figures, "drift": drift}))
    dist.destroy_process_group()


def train_stage(out, layout, kill_after):
    """A stage on a tiny model; rank 1 kills itself after ``kill_after`` epochs, if not 0."""
    import torch.distributed as dist
    from conftest import make_tokenizer, texts
    from transformers import TrainerCallback

    from veilform.distill.examples import Example, Splits, Task
    from veilform.distill.material import Material
    from veilform.distill.stages import Settings, Stage, run_stage
    from veilform.distill.trainer import Weights

    class Kill(TrainerCallback):
        def on_save(self, args, state, control, **_):
            if kill_after and dist.get_rank() == 1 and state.epoch >= kill_after:
                os.kill(os.getpid(), signal.SIGKILL)

    train, dev = ([Example(t, y) for t, y in texts(n, seed=n)] for n in (44, 24))
    splits = Splits(Task("words", ("neg", "pos"), ("accuracy",)), train, dev)
    model = build(Case(layout, functions=("quad", "2quad"), changes={"num_labels": 2}))
    teacher = build(Case(layout, changes={"num_labels": 2, "pooling": "mean"}))
    material = Material.encode(splits, make_tokenizer(), 16, model.config)
    stage = Stage("all", 3, 2e-3, Weights(1.0, 2.0, 0.1, 0.5, 0.5, 0.1))
    settings = Settings(batch_size=8, bf16=False, layout=layout)
    run_stage(stage, settings, model, material, Path(out), teacher, (Kill(),))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    mode, out, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    if mode == "layouts":
        compare_layouts(out, int(rest[0]))
    else:
        plan = None if rest[0] == "trainer" else Layout.from_json(Path(rest[0]))
        train_stage(out, plan, int(rest[1]))
