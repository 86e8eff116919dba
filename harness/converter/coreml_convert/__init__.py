"""Language models as stateful ML Programs; see ../convert_coreml.py."""
