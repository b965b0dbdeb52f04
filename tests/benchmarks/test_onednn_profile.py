"""onednn_profile.py: what it reads out of oneDNN's log, and its table."""

from benchmarks.onednn_profile import BATCHES, parse_line, table

PRODUCT = "onednn_verbose,exec,cpu,inner_product,brgemm:avx512,forward,src_f32,,,mb256ic64oc128,{}\n"
ATTENTION = "onednn_verbose,exec,cpu,matmul,brg:avx512,undef,src_f32,,,32x12x128x64:32x12x64x128,{}\n"
SOFTMAX = "onednn_verbose,exec,cpu,softmax,jit,forward,data_f32,,,mb32,{}\n"


def test_operations_of_a_product():
    assert parse_line(PRODUCT.format(0.5)) == ("inner_product", "brgemm:avx512", 2 * 256 * 64 * 128, 0.5)
    assert parse_line(ATTENTION.format(1)).operations == 2 * 32 * 12 * 128 * 64 * 128
    assert parse_line(SOFTMAX.format(1)).operations == 0


def test_the_table_adds_up():
    log = [PRODUCT.format(40), SOFTMAX.format(10), PRODUCT.format(20)]
    rows = table(list(map(parse_line, log)), seconds=0.1, numpys=2 * 2 * 256 * 64 * 128 / 0.06)
    by_name = {row["primitive and kernel"]: row for row in rows}
    assert list(by_name) == ["inner_product brgemm:avx512", "softmax jit", "outside oneDNN", "together"]
    assert [row["ms a batch"] for row in rows] == [f"{ms / BATCHES:.2f}" for ms in (60, 10, 30, 100)]
    assert [row["share"] for row in rows] == ["60.0%", "10.0%", "30.0%", "100.0%"]
    assert by_name["inner_product brgemm:avx512"]["of numpy's"] == "100%"
    assert by_name["softmax jit"]["GOP/s"] == by_name["together"]["of numpy's"] == ""
