// Beside the module.
export const inner = 'inside';
