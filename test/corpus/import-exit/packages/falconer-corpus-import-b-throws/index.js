throw new TypeError('needs a browser')
