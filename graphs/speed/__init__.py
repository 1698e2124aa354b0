"""How fast is a training step? Ours, eager and compiled, beside NumPy written by hand and other frameworks.

    python -m graphs.speed --quick

The step is the zoo's: 784 pixels, one hidden layer and 10 outputs of sigmoid neurons, quadratic cost, float32, gradient
descent. Every contestant starts from the same weights, and must come to the same weights before it is timed. They take
turns, so that a busy moment of the machine meets all of them; what counts is the ratio to the NumPy that a person
writes by hand, its median over the turns. Everything runs in one thread. PyTorch, JAX and HIPS autograd take part where
they are installed.

In the order of reading: what takes part (contestant, by_hand, ours, peers; contestants lists them), what makes it fair
(fairness), what is measured (measure), how it is shown (report, picture), and the command (__main__).
"""
