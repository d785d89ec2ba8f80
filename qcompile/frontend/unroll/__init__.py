"""Recurrent ONNX nodes as the plain nodes of all their steps, attention and response normalization as those that they
are made of, which the importer takes like any others: exact by what those are.

An unroller gives graphs of ONNX nodes one after the other; when it is asked for the next, what the last one computes is
among the values. Names of step t begin with `node/t<t>/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx

from qcompile.frontend.unroll import attention, brevitas, cells, loops, responses
from qcompile.frontend.unroll.writer import Scope

UNROLLERS: dict[str, Callable[[Scope], Iterator[onnx.GraphProto]]] = {
    "Scan": loops.scan,
    "Loop": loops.loop,
    "RNN": cells.rnn,
    "GRU": cells.gru,
    "LSTM": cells.lstm,
    "DynamicQuantizeLSTM": cells.dynamic_quantize_lstm,
    "QuantLSTMCell": brevitas.quant_lstm_cell,
    "Attention": attention.attention,
    "MultiHeadAttention": attention.multi_head_attention,
    "QAttention": attention.quantized_attention,
    "GroupQueryAttention": attention.group_query_attention,
    "RotaryEmbedding": attention.rotary_embedding,
    "LRN": responses.lrn,
}
