"""Rows of a report on compressed models, as choices are made among them."""


def report_row(model, choosing, held_out, speedup, size=1, precision="int8", **more):
    """A model by its changes in points; the original reaches 80 % on either half."""
    halves = {
        half: {"metric": 0.8 + change / 100, "change": change / 100, "interval": [change / 100 - 0.01, change / 100]}
        for half, change in (("choosing", choosing), ("held_out", held_out))
    }
    return {
        **{"model": f"{model}/{precision}", "precision": precision, "width": None, "speedup": speedup, "bytes": size},
        **{"metrics": {"accuracy": 0.8 + (choosing + held_out) / 200}, "texts_per_second": 10.0, **halves, **more},
    }


ROWS = [
    report_row("inference", 0, 0, 1.0, precision="fp32"),
    report_row("exact", 0.1, -2.0, 2.0),
    report_row("half", -0.5, 0.3, 3.02, size=2),
    report_row("half_small", -0.5, 0.2, 2.98, size=1),
    report_row("fast", -1.2, 1.0, 6.0),
    report_row("faster", -3.0, -1.0, 9.0),
]
