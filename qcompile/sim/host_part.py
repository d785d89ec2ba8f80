"""A part of a model that the host runs in front of the hardware or behind it. Projects with such parts carry this file:
onnxruntime and numpy only.
"""

import numpy as np


def run_part(source, inputs):
    """Outputs of an ONNX file (bytes, or its path) for arrays with the vector index first: of all vectors at once, or
    one by one where the file does not leave the size of its batch open.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    ports, count = session.get_inputs(), len(inputs[0])
    given = [np.asarray(a).astype(_kind(p.type)) for p, a in zip(ports, inputs)]
    try:
        found = [np.asarray(y) for y in session.run(None, {p.name: a for p, a in zip(ports, given)})]
        if all(y.shape[:1] == (count,) for y in found):
            return found
    except Exception:  # onnxruntime has its own kinds for shapes that do not fit
        pass
    rows = []
    for k in range(count):
        one = {p.name: a[k : k + 1] if len(p.shape) == a.ndim else a[k] for p, a in zip(ports, given)}
        rows.append([np.asarray(y) for y in session.run(None, one)])
    return [np.stack([y[0] if y.shape[:1] == (1,) else y for y in column]) for column in zip(*rows)]


def _kind(text):
    """tensor(float) -> float32."""
    name = text[7:-1]
    return {"float": "float32", "double": "float64"}.get(name, name)
