console.log('sekisho');
