"""Hosting: any pipeline of diffusers as a backbone, by running its own call with the loop turned inside out."""
