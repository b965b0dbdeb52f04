"""Attention heads that start with something to look at, for models that start from random weights.

From random weights a transformer learns only slowly which token is next to which and which are the
same, and without that it finds no name, no word, and no passage that a question is about. Initializing
attention with structure for want of data follows Trockman and Kolter 2023 (mimetic initialization).
"""

from typing import Tuple

import numpy as np
import paddle

NEIGHBOUR_OFFSETS = (-1, 1, -2, 2, -3, 3)
POSITION_SCALE = 0.04  # about as large as the other dimensions' random values after the layer norm
SEGMENT_SCALE = 0.04
HEAD_SCALE = 1.5  # makes a matching position's attention logit about 5
MATCH_SCALE = 1.0


def structure_heads(model, neighbour_heads: int, matching_heads: int) -> None:
    """Start the first heads of every layer with looking at a fixed distance, and the following ones with looking at the
    same character in the other segment; from there they are learnt on."""
    width = model.config.hidden_size // model.config.num_attention_heads
    set_positions(model.ernie.embeddings, width)
    if matching_heads:
        set_segments(model.ernie.embeddings, width)
    for layer in model.ernie.encoder.layers:
        query, key = (projection.weight.numpy() for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj))
        heads = [slice(head * width, (head + 1) * width) for head in range(neighbour_heads + matching_heads)]
        for columns, offset in zip(heads, NEIGHBOUR_OFFSETS[:neighbour_heads]):
            query[:width, columns], key[:width, columns] = neighbour_weights(width, offset)
        for columns in heads[neighbour_heads:]:
            query[:, columns], key[:, columns] = matching_weights(len(query), width)
        layer.self_attn.q_proj.weight.set_value(query)
        layer.self_attn.k_proj.weight.set_value(key)
        for projection in (layer.self_attn.v_proj, layer.self_attn.out_proj):
            paddle.nn.initializer.XavierNormal()(projection.weight)


def position_frequencies(width: int) -> np.ndarray:
    return np.geomspace(2.8, 1.4, width // 2)


def set_positions(embeddings, width: int) -> None:
    """Keep the first dimensions of an embedding for the position, as sines and cosines (Vaswani et al. 2017, 3.5)."""
    positions = embeddings.position_embeddings.weight.numpy()
    angles = np.arange(len(positions))[:, None] * position_frequencies(width)
    positions[:, :width] = POSITION_SCALE * np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    embeddings.position_embeddings.weight.set_value(positions)
    for embedding in (embeddings.word_embeddings, embeddings.token_type_embeddings):
        set_dimensions(embedding, slice(0, width), 0)


def set_segments(embeddings, dimension: int) -> None:
    """Keep one dimension for the segment, and the ones behind it for the character alone."""
    for embedding in (embeddings.word_embeddings, embeddings.position_embeddings):
        set_dimensions(embedding, slice(dimension, dimension + 1), 0)
    for embedding in (embeddings.position_embeddings, embeddings.token_type_embeddings):
        set_dimensions(embedding, slice(dimension + 1, None), 0)
    segments = np.arange(len(embeddings.token_type_embeddings.weight))
    set_dimensions(embeddings.token_type_embeddings, dimension, SEGMENT_SCALE * np.where(segments == 0, 1, -1))


def set_dimensions(embedding, dimensions, values) -> None:
    weight = embedding.weight.numpy()
    weight[:, dimensions] = values
    embedding.weight.set_value(weight)


def neighbour_weights(width: int, offset: int) -> Tuple[np.ndarray, np.ndarray]:
    """(query, key) weights [width, width] of a head that looks `offset` tokens on.

    A query that is rotated by the angle of the offset matches the key at that offset.
    """
    frequencies = position_frequencies(width)
    sine, cosine = (np.diag(function(frequencies * offset)) for function in (np.sin, np.cos))
    return HEAD_SCALE * np.block([[cosine, -sine], [sine, cosine]]), HEAD_SCALE * np.eye(width)


def matching_weights(hidden_size: int, width: int) -> Tuple[np.ndarray, np.ndarray]:
    """(query, key) weights [hidden_size, width] of a head that looks for the same character in the other segment.

    Both project the character's dimensions alike and at random; the segment's has opposite signs.
    """
    weights = np.zeros((hidden_size, width))
    characters = hidden_size - width - 1
    random_matrix = paddle.randn([characters, width - 1]).numpy()
    weights[width + 1 :, : width - 1] = MATCH_SCALE * np.linalg.qr(random_matrix)[0]
    query, key = weights, weights.copy()
    query[width, -1], key[width, -1] = HEAD_SCALE, -HEAD_SCALE
    return query, key
