"""Keras files in and out, with h5py alone: no Keras is imported and nothing in a file is executed.

config       a file's JSON configuration -> its layers in order
container    a file of any kind, opened: configuration, arrays, training configuration
recognise    layers -> which of the models this is, with which hyper-parameters
optimizer    Keras' RMSprop and its state, as ours and back
reading      a file -> a model with its weights
layout       a model -> the layers of the Keras model that equals it
writing      a model -> a file
command      ``python -m catdog_pl keras import|export``
"""
