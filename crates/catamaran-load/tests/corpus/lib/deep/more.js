// Exported again.
export const more = 'more';
export const data = open('../data.txt').length;
