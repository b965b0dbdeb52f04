"""The assignment problem: to each row a column of its own, such that the sum is the highest.

scipy.optimize.linear_sum_assignment does the same; deployment has NumPy alone, and a model must answer there as it was
evaluated.
"""

from typing import List

import numpy as np


def best_assignment(scores: np.ndarray) -> List[int]:
    """The column of each row, no column twice, with the highest sum of scores there is.

    Rows are added one by one, each along the cheapest augmenting path, with row and column potentials that keep all
    reduced costs from falling below 0 (Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse
    linear assignment problems", 1987): rows^2 * columns steps.

    Args:
        scores: finite numbers [rows, columns], no more rows than columns.
    """
    costs = -np.asarray(scores, dtype=np.float64)
    rows, columns = costs.shape
    row_potential, column_potential = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)  # the row that a column is given to
    for start in range(rows):
        distance = np.full(columns, np.inf)  # of the cheapest path from `start` to each column
        before = np.full(columns, -1)  # the column before it on that path
        reached = np.zeros(columns, dtype=bool)
        row, column, length = start, -1, 0.0
        while row >= 0:  # until a column that is free
            onward = length + costs[row] - row_potential[row] - column_potential
            shorter = ~reached & (onward < distance)
            distance[shorter], before[shorter] = onward[shorter], column
            column = int(np.where(reached, np.inf, distance).argmin())
            length = distance[column]
            reached[column] = True
            row = row_of[column]
        inner = reached & (row_of >= 0)
        row_potential[start] += length
        row_potential[row_of[inner]] += length - distance[inner]
        column_potential[reached] -= length - distance[reached]
        while column >= 0:
            previous = before[column]
            row_of[column] = row_of[previous] if previous >= 0 else start
            column = previous
    return [int(np.flatnonzero(row_of == row)[0]) for row in range(rows)]
