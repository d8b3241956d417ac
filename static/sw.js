// Takes in what a phone shares, and hands downloads to the browser as streams.
