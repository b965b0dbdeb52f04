"""Masked language modelling (Devlin et al. 2019, section 3.1), which warms a small ERNIE up on the sample text."""

import random
from typing import List, Tuple

import numpy as np
import paddle
from paddlenlp.transformers import LinearDecayWithWarmup
from tqdm import tqdm

from ernie_inference.wordpiece import WordPiece
from examples.sample_text import batches

MASK_SHARE = 0.15


def mask(
    batch: List[List[int]], tokenizer: WordPiece, mask_id: int, rng: np.random.Generator
) -> Tuple[np.ndarray, ...]:
    """input_ids [batch, seq_len], positions [n] of the chosen tokens in the flattened batch, and their ids [n].

    Of the chosen tokens 80 % become [MASK], 10 % a random token and 10 % stay.
    """
    length = max(map(len, batch)) + 2
    input_ids = np.full((len(batch), length), tokenizer.pad_id, dtype="int64")
    for row, ids in zip(input_ids, batch):
        row[: len(ids) + 2] = [tokenizer.cls_id, *ids, tokenizer.sep_id]
    special = np.isin(input_ids, (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id))
    chosen = (rng.random(input_ids.shape) < MASK_SHARE) & ~special
    if not chosen.any():
        chosen[0, 1] = True
    labels = input_ids[chosen]
    replaced = np.where(rng.random(labels.shape) < 8 / 9, mask_id, rng.integers(0, tokenizer.size, labels.shape))
    input_ids[chosen] = np.where(rng.random(labels.shape) < 0.9, replaced, labels)
    return input_ids, np.flatnonzero(chosen), labels


def pretrain(model, sequences: List[List[int]], tokenizer: WordPiece, args) -> List[float]:
    """Masked language modelling; returns the loss of every step."""
    mask_id = tokenizer.vocab["[MASK]"]
    tokens = sum(len(ids) + 2 for ids in sequences)
    steps = max(1, int(args.num_train_epochs * tokens * 1.02 / args.tokens_per_batch))
    schedule = LinearDecayWithWarmup(args.learning_rate, steps, 0.06)
    optimizer = paddle.optimizer.AdamW(
        schedule,
        parameters=model.parameters(),
        weight_decay=0.01,
        grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0),
    )
    order, rng = random.Random(args.seed), np.random.default_rng(args.seed)
    losses: List[float] = []
    model.train()
    with tqdm(total=steps, desc="masked language modelling", unit="step") as bar:
        while len(losses) < steps:
            for batch in batches(sequences, args.tokens_per_batch, order):
                input_ids, positions, labels = mask([sequences[i] for i in batch], tokenizer, mask_id, rng)
                scores = model(paddle.to_tensor(input_ids), masked_positions=paddle.to_tensor(positions))
                loss = paddle.nn.functional.cross_entropy(scores, paddle.to_tensor(labels))
                loss.backward()
                optimizer.step()
                schedule.step()
                optimizer.clear_grad()
                losses.append(float(loss))
                bar.update()
                if len(losses) % 10 == 0:
                    bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
                if len(losses) >= steps:
                    break
    return losses
