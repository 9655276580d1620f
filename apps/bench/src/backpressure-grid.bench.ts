import { printGrid } from './backpressure-simulation/grid.ts';

/** The simulation on services that the defaults were not chosen for. Apart, since it takes several minutes. */
export async function runBackpressureGridBench(): Promise<void> {
  await printGrid();
}
