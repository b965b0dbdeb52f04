"""The table that the load benchmark prints."""

from benchmarks.serving_load import Outcome, facts, percentiles, rows_of
from ernie_inference.console import print_table


def test_the_figures_are_a_table(capsys):
    outcome = Outcome(10.0, sent=9, answered=6, refused=2, lost=1, wrong=0, seconds=[0.001 * i for i in range(1, 101)])
    load = {**facts(outcome), **percentiles(outcome.seconds)}
    figures = {
        "direct_texts_per_second": 30.5,
        "served_texts_per_second": 30.04,
        "served_over_direct": 0.985,
        "full_load": load,
        "half_load": {**load, "sent": 3},
        "memory": {"early_mb": 1984.0, "late_mb": 1987.2, "ratio": 1.0016},
        "batching": {"on_texts_per_second": 30.0, "off_texts_per_second": 22.3, "on_over_off": 1.345},
    }
    print_table(rows_of(figures))
    assert capsys.readouterr().out.splitlines() == [
        "what                measured",
        "direct              30.5 texts/s",
        "served              30.0 texts/s, 0.98 of direct",
        "full load           9 requests: 6 answered, 2 refused, 1 lost; 0 wrong answers",
        "full load, latency  p50 51.0 ms, p99 100.0 ms",
        "half load           3 requests: 6 answered, 2 refused, 1 lost; 0 wrong answers",
        "half load, latency  p50 51.0 ms, p99 100.0 ms",
        "memory              1984 MB, at the end 1987 MB: 1.002",
        "batching            on 30.0 texts/s, off 22.3: 1.34x",
    ]
