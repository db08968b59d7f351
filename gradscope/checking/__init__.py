"""Is the derivative of a cell right? One way for built-in cells, plug-ins and users' files, in two stages.

Stage 1 runs whenever `create` or `from_step` makes a cell of a user's class or function: `declarations` reads what a
class says of itself, `trial` runs a cell at two points, and `function` a step function; a slip is one sentence with
file, line and name.
Stage 2 compares derivatives in float64: `formulas` each entry of `partials`, `jacobian` the Jacobian as a whole,
`contract` what else a cell promises. `gradscope check-cell`, `gradscope.testing.check_cell` and the contract tests ask
for stage 2.
"""
