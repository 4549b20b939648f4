"""One model trained over several devices: tensor, data and pipeline parallel, by a plan.

``Layout`` says how many of each; ``connect`` numbers the processes that ``torchrun`` started;
``Program`` holds this process's part of the model and runs whole batches; ``train`` runs one stage
of distillation with it. In these modules a *rank* is a process's number in the plan, a *part* is
what one pipeline stage holds of the model, and *stage* alone is a stage of distillation.
"""
