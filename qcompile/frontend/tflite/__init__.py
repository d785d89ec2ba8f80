"""TensorFlow Lite files with integer tensors: the model graph is what the reference kernels compute."""

from qcompile.frontend.tflite.importer import import_tflite, is_tflite

__all__ = ["import_tflite", "is_tflite"]
