"""A cohort's arithmetic: adding uploads, opening the sum, and what clipping and slots the next task has."""
