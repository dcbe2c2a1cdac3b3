"""Continuity policies: how a scene is divided into segments and what ties each segment to the one before.

One file per policy; their table is `videogen.request.continuity_policies`.
"""
