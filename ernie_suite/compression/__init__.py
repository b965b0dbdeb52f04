"""Smaller and faster models from a fine-tuned one: DynaBERT pruning, students of their own, quantization to INT8.

Read it in this order: config.py (what can be asked for), flags.py (how the scripts ask), pipeline.py (what compress()
does, step by step), vocabulary.py (fewer tokens), subnetworks.py (what a smaller model is), importance.py and
supernet.py (how it is pruned), latency.py, damage.py and budget.py (how it is chosen by speed), student.py (a model of
its own as the student), training.py and distillation.py (how all of them are trained), sources.py, int8_models.py,
smoothing.py, thresholds.py, quantization.py and sensitivity.py (how a model gets INT8; graph.py is what they read
programs with), records.py (what was made of what), halves.py (by which part of the dev set), fresh_process.py (where
speed and memory are measured), report.py, choice.py and pareto.py (which model is the best), and work.py (how an
interrupted run goes on).

Another step is a function of pipeline.py's compress(), with a config of its own in config.py, its flags in flags.py, a
switch that scripts.py and FinetuneTrainer.compress hand on, and, where it makes models of another kind, a field in
records.Exported.
"""
