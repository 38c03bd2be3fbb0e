"""What every room uses: writing files, finished work, optional packages, the machine."""
