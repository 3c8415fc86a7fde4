"""`python -m export advise`: which network, adapted how, suits these images and these bounds."""
