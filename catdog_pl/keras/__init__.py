"""Keras' files and rules, with h5py alone: no Keras is imported and nothing in a file is executed.

    nn         what Keras does and PyTorch does not: initialisers, flattening, RMSprop
    hdf5       HDF5 of other people, read safely
    weights    the two layouts of weights in HDF5
    file       a file of any kind, opened
    config     a model's JSON configuration -> its layers in order
    layers     the table: a layer read, built in PyTorch, written
    optimizer  RMSprop's state
    saving     layers -> a file

Nothing here knows a model of this package; ``models.keras_import`` and ``export.keras`` do.
"""
