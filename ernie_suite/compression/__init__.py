"""Smaller and faster models from a fine-tuned one: DynaBERT width pruning and quantization to INT8.

Read it in this order: config.py (what can be asked for), pipeline.py (what compress() does, step by step), pruning.py,
smoothing.py, thresholds.py, quantization.py and sensitivity.py (how; graph.py is what they read programs with),
records.py (what was made of what), report.py (which model is the best), and work.py (how an interrupted run goes on).

Another step is a function of pipeline.py's compress(), with a config of its own in config.py, its flags in
CompressionArguments there, a switch that scripts.py and FinetuneTrainer.compress hand on, and, where it makes models of
another kind, a field in records.Exported.
"""
