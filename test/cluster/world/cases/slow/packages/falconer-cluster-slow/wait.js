setTimeout(() => {}, 12000);
