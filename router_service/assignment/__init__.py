"""The whole batch at once: which job goes to which model, under quality, limits, deadline and budget. Pure.

What others use: `jobs.Jobs` and `jobs.Job` (what is expected of each job at each model), `capacity.Capacity.of` (limits of the
catalog), `goal.Goal`, `quoting.quote` and `quoting.compare` (before and after), `solving.solve` (a Plan, or an Infeasible that
says why not), `choice.choose` (a job's models, best first, from plan and job alone), `replanning.solve_again` (what is left).
"""
