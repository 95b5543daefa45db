// The rules of this product's own API, /crosscell/v1: for administrators.

export const CROSSCELL_RULES = {
  context_is_admin: 'role:admin',
  'crosscell:cells': 'rule:context_is_admin',
  'crosscell:cells:update': 'rule:context_is_admin',
  'crosscell:hosts': 'rule:context_is_admin',
  'crosscell:storage': 'rule:context_is_admin',
  'crosscell:moves': 'rule:context_is_admin',
  'crosscell:moves:retry': 'rule:context_is_admin',
  'crosscell:moves:cancel': 'rule:context_is_admin',
  'crosscell:moves:skip': 'rule:context_is_admin',
  'crosscell:sagas': 'rule:context_is_admin',
  'crosscell:policy': 'rule:context_is_admin',
  'crosscell:debts': 'rule:context_is_admin',
  'crosscell:audit': 'rule:context_is_admin',
  'crosscell:audit:create': 'rule:context_is_admin',
  'crosscell:quarantine': 'rule:context_is_admin',
  'crosscell:quarantine:release': 'rule:context_is_admin',
  'crosscell:quarantine:destroy': 'rule:context_is_admin',
  'crosscell:faults': 'rule:context_is_admin',
  'crosscell:faults:create': 'rule:context_is_admin',
  'crosscell:faults:delete': 'rule:context_is_admin',
} as const;
