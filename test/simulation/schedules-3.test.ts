import { quarter } from './schedules.ts';

quarter(3);
