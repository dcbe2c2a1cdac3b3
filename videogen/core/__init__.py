"""Shared foundations: errors, addressed randomness, the run manifest, atomic files, quiet logs. Imports no other
package of videogen."""
