"""Annotated texts from and to the tools of annotators, for the command dataset.py.

records                 what every format is read into; what is said of changes
formats                 the table of formats, each of which is a file: doccano, label_studio, tables, columns
items, values, offsets  what these share: JSON of any size, the forms of an annotation, what positions count
spans, forms, splits    spans as tags; records as examples of the suite's formats; train, dev and test without leaks
convert                 all of this put together
prelabels, preannotate  the other way: answers of a model as what the tools import
"""
