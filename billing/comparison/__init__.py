"""What a vendor's report and our own count say of the same days, cell by cell. Pure.

A cell is a UTC day, a model, a key or project, a tier and a class. Units: whole tokens (or
searches), USD. Tolerance: tokens 0, cost the larger of 0.01 USD and 0.5 %.
"""

from billing.comparison.judgement import AGREEING, beside_skewed, compare
from billing.comparison.values import Cell, Context, Count, Finding

__all__ = ["AGREEING", "Cell", "Context", "Count", "Finding", "beside_skewed", "compare"]
