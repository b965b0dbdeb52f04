"""What is said of an error that a library raised."""

from ernie_inference.errors import reason_of


def test_errors_of_cpp_are_cut_to_what_happened():
    trace = "\n\n----\nC++ Traceback\n----\n0 paddle::f()\n\n"
    text = trace + "Error Message Summary:\n-----\nNotFoundError: TensorRT is needed\n"
    assert reason_of(RuntimeError(text)) == "NotFoundError: TensorRT is needed"
    assert reason_of(MemoryError()) == "MemoryError"
