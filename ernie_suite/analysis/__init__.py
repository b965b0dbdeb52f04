"""Where and how a model errs, and which labels may be wrong: what --analyze computes.

    base                            what the analyses of the task families have in common
    calibration, suspects, counts   confidence against being right; labels that a model contradicts; tables of counts
    labels, label_sets, entities, answers, choices   the analysis of a task family each; its object in tasks/ names it
    page, pictures                  the report as one HTML page
    flags, run, trained             the flags; what all commands do, and what run_*.py do

The analysis of another family is a class of base.Analysis that its TaskFamily names. It fills parts of the report that
page.SECTIONS knows, or new ones, with a row there.
"""
