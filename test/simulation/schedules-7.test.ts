import { eighth } from './schedules.ts';

eighth(7);
