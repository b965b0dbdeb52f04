"""A look at a data set before training, for `python dataset.py describe`.

statistics   what is counted, example by example, and what follows from it
report       the same as tables on the screen, and as JSON
picture      the same as a picture
"""
