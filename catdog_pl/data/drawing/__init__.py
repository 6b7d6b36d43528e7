"""Cats and dogs drawn from curves, for the built-in sample.

    curves       smooth closed outlines, limbs, fur edges
    pencil       fills outlines on a picture, in frames that can be moved, tilted and mirrored
    colours      picking, mixing, jittering
    coat         what an animal wears
    markings     what the coat's pattern paints on face, body and tail
    animal       what every animal has: coat, expression, eyes, tail
    cat, dog     what tells them apart
    poses        portrait, sitting, standing, lying
    scenery      paper, room, meadow, clutter
    camera       size and place in the picture, light, blur, noise

Only ``cat`` and ``dog`` know the kind; whatever the others draw comes from one distribution.
"""
